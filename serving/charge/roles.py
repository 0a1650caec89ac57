"""Roles of controllers at a site, and the transitions between them as pure functions on plain data.

shadow P ──▶ P is a challenger that is asked after each answer; its requests are compared, never carried out
canary P ──▶ P is a challenger that acts, on the sites of its share
promote  ──▶ the challenger, or P, is champion; the former champion is remembered
demote   ──▶ the challenger leaves
rollback ──▶ the champion before is champion again; a challenger leaves
"""

from __future__ import annotations

import hashlib
from typing import Literal, Self

from pydantic import Field, model_validator

from envs.core.frozen import Frozen
from envs.core.site import Site
from serving.core.refusals import Conflict

REMEMBERED = 10
"""Number of former champions that rollbacks can return to, one after the other."""

Mode = Literal["shadow", "canary"]


class Roles(Frozen):
    """Who has which role at a site; controllers by name, ``policy``, or a bundle's path.

    Attributes:
        champion: acts.
        challenger: may act one day.
        mode: what the challenger does.
        share: of all sites on which a canary acts, 0 to 1.
        former: earlier champions, the last of them last.
    """

    champion: str = Field(min_length=1)
    challenger: str | None = Field(default=None, min_length=1)
    mode: Mode = "shadow"
    share: float = Field(default=1.0, ge=0, le=1)
    former: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if self.challenger == self.champion:
            raise ValueError(f"{self.champion!r} is champion and challenger: choose another challenger")
        return self

    @property
    def refs(self) -> list[str]:
        """Controllers that need a seat: the champion, and the challenger if there is one."""
        return [ref for ref in (self.champion, self.challenger) if ref is not None]

    def challenge(self, policy: str | None, mode: Mode, share: float = 1.0) -> Roles:
        """A challenger in a mode; the present one if none is named.

        Raises:
            Conflict: if there is none, or it is the champion.
        """
        challenger = policy or self.challenger
        if challenger is None:
            raise Conflict("policy", None, "there is no challenger: name one")
        if challenger == self.champion:
            raise Conflict("policy", challenger, "it is the champion: name another")
        return self.model_copy(update={"challenger": challenger, "mode": mode, "share": share})

    def promote(self, policy: str | None = None) -> Roles:
        """The challenger, or another controller, becomes champion.

        Raises:
            Conflict: if none is named and there is no challenger.
        """
        new = policy or self.challenger
        if new is None:
            raise Conflict("policy", None, "there is no challenger to promote: name a policy")
        former = self.former if new == self.champion else (*self.former, self.champion)[-REMEMBERED:]
        challenger = None if new == self.challenger else self.challenger
        return self.model_copy(update={"champion": new, "former": former, "challenger": challenger})

    def demote(self) -> Roles:
        """The challenger leaves.

        Raises:
            Conflict: if there is none.
        """
        if self.challenger is None:
            raise Conflict("policy", None, "there is no challenger to demote")
        return self.model_copy(update={"challenger": None, "mode": "shadow", "share": 1.0})

    def rollback(self) -> Roles:
        """The champion before is champion again.

        Raises:
            Conflict: if there was none.
        """
        if not self.former:
            raise Conflict("policy", self.champion, "there was no champion before it: promote another")
        return Roles(champion=self.former[-1], former=self.former[:-1])

    def canary_acts(self, site: Site) -> bool:
        """Whether the challenger is to act at this site: the same answer always, and about `share` of all sites."""
        if self.challenger is None or self.mode != "canary":
            return False
        digest = hashlib.sha256(f"{self.challenger}\n{site.system}/{site.name}\n{site.hash}".encode()).digest()
        return int.from_bytes(digest[:8]) < self.share * 2**64
