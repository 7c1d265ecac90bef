"""The Secrets, accounts and settings of a namespace by their names, which the manifests bear too."""

STORE_SECRET = "cd4ml-store"  # noqa: S105 (here and below: a Secret's name, not what is in it)
TRAINER_SECRET = "cd4ml-trainer"  # noqa: S105
PUBLISHER_SECRET = "cd4ml-publisher"  # noqa: S105
DEPLOYER_SECRET = "cd4ml-deployer"  # noqa: S105
MODELS_SECRET = "cd4ml-models"  # noqa: S105
ROUTER_SECRET = "cd4ml-router"  # noqa: S105
CAPTURE_SECRET = "cd4ml-capture"  # noqa: S105
"""With what an admin says of what is kept of requests (`cd4ml.serving.server`); it need not be there."""
MONITORING_SECRET = "cd4ml-monitoring"  # noqa: S105
SOURCES_SECRET = "cd4ml-sources"  # noqa: S105
SOURCES_MOUNTED = "/etc/cd4ml/sources"
"""Where the tasks that read sources find what is in it."""
ALERTS_SECRET = "cd4ml-alerts"  # noqa: S105
"""With the key that what webhooks are told of alerts is signed with."""
SIGNING_SECRET = "cd4ml-signing"  # noqa: S105
"""With the private key that versions are signed with, as `key.pem`."""
TRUSTED_SECRET = "cd4ml-trusted-keys"  # noqa: S105
"""With the public keys that are trusted, each a file: no secrets, but only who may write Secrets changes them."""
ARTIFACTS_SECRET = "mlpipeline-minio-artifact"  # noqa: S105
"""KFP's own name for it."""
ROOT_SECRET = "minio-root"  # noqa: S105
RUNNER = "pipeline-runner"
"""The ServiceAccount of all other tasks."""
DEPLOYER = "deployer"
"""The ServiceAccount of the tasks that deploy."""
LAUNCHER_SETTINGS = "kfp-launcher"
"""The ConfigMap that tells KFP's launcher where artifacts are kept."""
