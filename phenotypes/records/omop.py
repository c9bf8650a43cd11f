"""The OMOP Common Data Model, 5.3 and 5.4, and the tables that All of Us adds: columns that are read, and their types.

References
----------
https://ohdsi.github.io/CommonDataModel/cdm54.html
"""

from __future__ import annotations

BIGQUERY = "bigquery://"
"""How the name of a dataset of BigQuery begins."""

INTEGER, NUMBER, TEXT, DATE = "BIGINT", "DOUBLE", "VARCHAR", "DATE"

MALE_CONCEPTS = (8507, 45880669, 1585846)
"""Male: OMOP's own concept, and the answers of All of Us to sex at birth (standard and source)."""
FEMALE_CONCEPTS = (8532, 45878463, 1585847)

_CONTACT = {"visit_occurrence_id": INTEGER, "provider_id": INTEGER}

TABLES: dict[str, dict[str, str]] = {
    "person": {
        "person_id": INTEGER,
        "gender_concept_id": INTEGER,
        "year_of_birth": INTEGER,
        "month_of_birth": INTEGER,
        "day_of_birth": INTEGER,
        "birth_datetime": DATE,
        "race_concept_id": INTEGER,
        "ethnicity_concept_id": INTEGER,
        "sex_at_birth_concept_id": INTEGER,
        "sex_at_birth_source_concept_id": INTEGER,
    },
    "observation_period": {
        "person_id": INTEGER,
        "observation_period_id": INTEGER,
        "observation_period_start_date": DATE,
        "observation_period_end_date": DATE,
        "period_type_concept_id": INTEGER,
    },
    "death": {
        "person_id": INTEGER,
        "death_date": DATE,
        "death_type_concept_id": INTEGER,
        "cause_concept_id": INTEGER,
        "cause_source_concept_id": INTEGER,
    },
    "visit_occurrence": {
        "person_id": INTEGER,
        "visit_occurrence_id": INTEGER,
        "visit_concept_id": INTEGER,
        "visit_start_date": DATE,
        "visit_end_date": DATE,
        "visit_type_concept_id": INTEGER,
        "visit_source_concept_id": INTEGER,
        "provider_id": INTEGER,
        "care_site_id": INTEGER,
    },
    "condition_occurrence": {
        "person_id": INTEGER,
        "condition_occurrence_id": INTEGER,
        "condition_concept_id": INTEGER,
        "condition_start_date": DATE,
        "condition_end_date": DATE,
        "condition_type_concept_id": INTEGER,
        "condition_source_value": TEXT,
        "condition_source_concept_id": INTEGER,
        "condition_status_concept_id": INTEGER,
        "stop_reason": TEXT,
        **_CONTACT,
    },
    "procedure_occurrence": {
        "person_id": INTEGER,
        "procedure_occurrence_id": INTEGER,
        "procedure_concept_id": INTEGER,
        "procedure_date": DATE,
        "procedure_source_value": TEXT,
        "procedure_source_concept_id": INTEGER,
        "procedure_type_concept_id": INTEGER,
        "modifier_concept_id": INTEGER,
        "quantity": NUMBER,
        **_CONTACT,
    },
    "drug_exposure": {
        "person_id": INTEGER,
        "drug_exposure_id": INTEGER,
        "drug_concept_id": INTEGER,
        "drug_exposure_start_date": DATE,
        "drug_exposure_end_date": DATE,
        "days_supply": NUMBER,
        "drug_source_value": TEXT,
        "drug_source_concept_id": INTEGER,
        "drug_type_concept_id": INTEGER,
        "route_concept_id": INTEGER,
        "refills": NUMBER,
        "quantity": NUMBER,
        "stop_reason": TEXT,
        **_CONTACT,
    },
    "device_exposure": {
        "person_id": INTEGER,
        "device_exposure_id": INTEGER,
        "device_concept_id": INTEGER,
        "device_exposure_start_date": DATE,
        "device_exposure_end_date": DATE,
        "device_type_concept_id": INTEGER,
        "quantity": NUMBER,
        "device_source_value": TEXT,
        "device_source_concept_id": INTEGER,
    },
    "measurement": {
        "person_id": INTEGER,
        "measurement_id": INTEGER,
        "measurement_concept_id": INTEGER,
        "measurement_date": DATE,
        "measurement_type_concept_id": INTEGER,
        "operator_concept_id": INTEGER,
        "value_as_number": NUMBER,
        "value_as_concept_id": INTEGER,
        "unit_concept_id": INTEGER,
        "unit_source_value": TEXT,
        "range_low": NUMBER,
        "range_high": NUMBER,
        "measurement_source_value": TEXT,
        "measurement_source_concept_id": INTEGER,
        "value_source_value": TEXT,
        **_CONTACT,
    },
    "observation": {
        "person_id": INTEGER,
        "observation_id": INTEGER,
        "observation_concept_id": INTEGER,
        "observation_date": DATE,
        "value_as_number": NUMBER,
        "value_as_string": TEXT,
        "value_as_concept_id": INTEGER,
        "unit_concept_id": INTEGER,
        "observation_source_value": TEXT,
        "observation_source_concept_id": INTEGER,
        "observation_type_concept_id": INTEGER,
        "qualifier_concept_id": INTEGER,
        "value_source_value": TEXT,
        "value_source_concept_id": INTEGER,
        "questionnaire_response_id": INTEGER,
        **_CONTACT,
    },
    "condition_era": {
        "person_id": INTEGER,
        "condition_era_id": INTEGER,
        "condition_concept_id": INTEGER,
        "condition_era_start_date": DATE,
        "condition_era_end_date": DATE,
        "condition_occurrence_count": INTEGER,
    },
    "drug_era": {
        "person_id": INTEGER,
        "drug_era_id": INTEGER,
        "drug_concept_id": INTEGER,
        "drug_era_start_date": DATE,
        "drug_era_end_date": DATE,
        "drug_exposure_count": INTEGER,
        "gap_days": INTEGER,
    },
    "concept": {
        "concept_id": INTEGER,
        "concept_name": TEXT,
        "domain_id": TEXT,
        "vocabulary_id": TEXT,
        "concept_class_id": TEXT,
        "standard_concept": TEXT,
        "concept_code": TEXT,
        "invalid_reason": TEXT,
    },
    "concept_ancestor": {
        "ancestor_concept_id": INTEGER,
        "descendant_concept_id": INTEGER,
        "min_levels_of_separation": INTEGER,
    },
    "concept_relationship": {"concept_id_1": INTEGER, "concept_id_2": INTEGER, "relationship_id": TEXT},
    "cdm_source": {
        "cdm_source_name": TEXT,
        "cdm_source_abbreviation": TEXT,
        "cdm_version": TEXT,
        "source_release_date": DATE,
        "cdm_release_date": DATE,
        "vocabulary_version": TEXT,
    },
    # All of Us: wearables.
    "activity_summary": {
        "person_id": INTEGER,
        "date": DATE,
        "steps": NUMBER,
        "sedentary_minutes": NUMBER,
        "lightly_active_minutes": NUMBER,
        "fairly_active_minutes": NUMBER,
        "very_active_minutes": NUMBER,
        "activity_calories": NUMBER,
        "calories_out": NUMBER,
    },
    "heart_rate_summary": {
        "person_id": INTEGER,
        "date": DATE,
        "zone_name": TEXT,
        "min_heart_rate": NUMBER,
        "max_heart_rate": NUMBER,
        "minute_in_zone": NUMBER,
        "calorie_count": NUMBER,
    },
    "heart_rate_minute_level": {"person_id": INTEGER, "datetime": DATE, "heart_rate_value": NUMBER},
    "sleep_daily_summary": {
        "person_id": INTEGER,
        "sleep_date": DATE,
        "is_main_sleep": TEXT,
        "minute_in_bed": NUMBER,
        "minute_asleep": NUMBER,
        "minute_deep": NUMBER,
        "minute_light": NUMBER,
        "minute_rem": NUMBER,
        "minute_wake": NUMBER,
        "minute_awake": NUMBER,
        "minute_restless": NUMBER,
    },
}
"""Table → column → type, in the order of the CDM. Other columns are left alone."""

DATE_OF = {
    "visit_occurrence": "visit_start_date",
    "condition_occurrence": "condition_start_date",
    "procedure_occurrence": "procedure_date",
    "drug_exposure": "drug_exposure_start_date",
    "device_exposure": "device_exposure_start_date",
    "measurement": "measurement_date",
    "observation": "observation_date",
    "death": "death_date",
    "observation_period": "observation_period_start_date",
    "condition_era": "condition_era_start_date",
    "drug_era": "drug_era_start_date",
    "activity_summary": "date",
    "heart_rate_summary": "date",
    "heart_rate_minute_level": "datetime",
    "sleep_daily_summary": "sleep_date",
}
"""When the event of a row begins."""

DOMAINS = {
    "condition_occurrence": "condition",
    "procedure_occurrence": "procedure",
    "drug_exposure": "drug",
    "device_exposure": "device",
    "measurement": "measurement",
    "observation": "observation",
}
"""Tables whose rows have concepts: what the names of their concept columns begin with."""

VOCABULARY_TABLES = ("concept", "concept_ancestor", "concept_relationship", "cdm_source")
"""Tables without people."""
