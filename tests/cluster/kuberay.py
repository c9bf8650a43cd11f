"""What a RayCluster and a RayJob may hold, after KubeRay's reference of its API (v1.6), apart from the pods."""

from __future__ import annotations

from typing import Any

TEXT = {"type": "string"}
COUNT = {"type": "integer", "minimum": 0}
FLAG = {"type": "boolean"}
FREE = {"type": "object"}  # Kubernetes' own: checked against Kubernetes' schemas
TEXTS = {"type": "object", "additionalProperties": TEXT}


def section(required: tuple[str, ...] = (), **keys: Any) -> dict[str, Any]:
    """A mapping that holds these keys and no others."""
    return {"type": "object", "properties": keys, "required": list(required), "additionalProperties": False}


RAY_CLUSTER = section(
    ("headGroupSpec",),
    rayVersion=TEXT,
    suspend=FLAG,
    authOptions=section(mode={"enum": ["token", "disabled"]}, secretName=TEXT, enableK8sTokenAuth=FLAG),
    enableInTreeAutoscaling=FLAG,
    autoscalerOptions=section(
        idleTimeoutSeconds=COUNT,
        upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]},
        version={"enum": ["v1", "v2"]},
        image=TEXT,
        resources=FREE,
        securityContext=FREE,
        env={"type": "array"},
    ),
    headGroupSpec=section(
        ("template",),
        rayStartParams=TEXTS,
        serviceType=TEXT,
        enableIngress=FLAG,
        template=FREE,
    ),
    workerGroupSpecs={
        "type": "array",
        "items": section(
            ("groupName", "template", "minReplicas", "maxReplicas"),
            groupName=TEXT,
            replicas=COUNT,
            minReplicas=COUNT,
            maxReplicas=COUNT,
            idleTimeoutSeconds=COUNT,
            numOfHosts=COUNT,
            rayStartParams=TEXTS,
            template=FREE,
        ),
    },
)

RAY_JOB = section(
    ("entrypoint", "rayClusterSpec"),
    entrypoint=TEXT,
    entrypointNumCpus={"type": "number"},
    runtimeEnvYAML=TEXT,
    submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
    submitterPodTemplate=FREE,
    backoffLimit=COUNT,
    activeDeadlineSeconds={"type": "integer", "minimum": 1},
    shutdownAfterJobFinishes=FLAG,
    ttlSecondsAfterFinished=COUNT,
    suspend=FLAG,
    rayClusterSpec=RAY_CLUSTER,
)
