"""Input checks of readings ahead of any policy, and the responses to what they find."""

from serving.checks.checks import InputChecks
from serving.checks.impute import put_in
from serving.checks.settings import CheckSettings

__all__ = ["CheckSettings", "InputChecks", "put_in"]
