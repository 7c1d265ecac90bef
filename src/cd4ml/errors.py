"""What can go wrong for a user: one class a stage, each message saying what, where and what to do.

The command line prints the message alone and exits 1. Any other exception is a bug and keeps its traceback.
"""

import re

_RAISED = re.compile(r"^cd4ml\.errors\.\w+: ", re.MULTILINE)


class Cd4mlError(Exception):
    """Something that the user can mend."""


class ArgumentsError(Cd4mlError):
    """The arguments of a pipeline are not what it takes."""


class StorageError(Cd4mlError):
    """The store cannot be read or written."""


class DocumentError(Cd4mlError):
    """A file or record that another task wrote cannot be read."""


class DataError(Cd4mlError):
    """The data cannot be used as it is."""


class TrainingError(Cd4mlError):
    """A model cannot be trained as asked."""


class EvaluationError(Cd4mlError):
    """A model cannot be evaluated as asked."""


class GateError(Cd4mlError):
    """A gate refuses what came before it."""


class RegistryError(Cd4mlError):
    """A model cannot be published, or found again."""


class SignatureError(Cd4mlError):
    """What was published is not signed by a key that is trusted, or has changed since."""


class DeploymentError(Cd4mlError):
    """A model cannot be deployed, or its deployment does not hold."""


class EnvironmentSetupError(Cd4mlError):
    """This machine lacks what the run needs."""


class PluginError(Cd4mlError):
    """What a package adds to cd4ml cannot be used, or none that is installed here adds what was named."""


class KubeflowError(Cd4mlError):
    """KFP, or the cluster that it runs in, cannot be asked, or refuses."""


def words(log: str) -> str:
    """What the log of a failed task says: the words of its error, or all of it where no one foresaw the error."""
    return raised(log) or log.strip()


def raised(log: str) -> str:
    """The words of the error with which a task ended; empty where no one foresaw it."""
    found = list(_RAISED.finditer(log))
    return log[found[-1].end() :].strip() if found else ""
