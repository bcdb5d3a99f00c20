"""Errors of accounts and roles."""

from core.errors import Forbidden


class AccountErased(Forbidden):
    message = "This account was erased. Sign up again, or follow the operation of the erasure for the receipt."


class AccountBlocked(Forbidden):
    message = "This account is blocked."


class SelfRoleChange(Forbidden):
    message = "You cannot change your own roles: ask another administrator."
