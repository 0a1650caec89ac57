"""Input checks: what is looked at before any policy sees a reading, and what becomes of what is found."""

from serving.checks.checks import InputChecks
from serving.checks.impute import put_in
from serving.checks.settings import CheckSettings

__all__ = ["CheckSettings", "InputChecks", "put_in"]
