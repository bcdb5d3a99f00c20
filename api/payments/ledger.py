"""The books, for those who keep them."""

from typing import Any

import marshmallow as ma
from flask.views import MethodView

from api.auth import requires
from api.pages import Page, PageQuery, page, page_of
from api.queue import ask
from api.schemas import Schema, Timestamp

from .blueprint import blp

_SIGNED = {"description": "Debits are positive, credits negative."}


class LedgerAccountSchema(Schema):
    account = ma.fields.Str(metadata={"example": "provider.stripe.main"})
    currency = ma.fields.Str()
    balance_minor = ma.fields.Int(metadata=_SIGNED)


class LedgerEntriesQuery(PageQuery):
    order_id = ma.fields.UUID(load_default=None)
    account = ma.fields.Str(load_default=None, validate=ma.validate.Length(max=100))


class LedgerEntrySchema(Schema):
    id = ma.fields.UUID()
    transaction_id = ma.fields.UUID(metadata={"description": "The entries of one transaction sum to zero."})
    kind = ma.fields.Str(metadata={"example": "capture"})
    order_id = ma.fields.UUID()
    source_id = ma.fields.UUID(metadata={"description": "The payment or refund that it is of."})
    account = ma.fields.Str()
    amount_minor = ma.fields.Int(metadata=_SIGNED)
    currency = ma.fields.Str()
    recorded_at = Timestamp()


class DifferenceSchema(Schema):
    object_id = ma.fields.Str(metadata={"description": "The provider's."})
    theirs_minor = ma.fields.Int()
    ours_minor = ma.fields.Int()


class ReconciliationSchema(Schema):
    id = ma.fields.UUID()
    provider = ma.fields.Str()
    account = ma.fields.Str()
    since = Timestamp(metadata={"description": "When what is compared was made at the provider."})
    until = Timestamp()
    kind = ma.fields.Str(validate=ma.validate.OneOf(["capture", "refund", "dispute"]))
    currency = ma.fields.Str()
    theirs_minor = ma.fields.Int(metadata={"description": "As the provider's list says."})
    ours_minor = ma.fields.Int(metadata={"description": "As the ledger says of the same payments or refunds."})
    differing = ma.fields.List(ma.fields.Nested(DifferenceSchema), metadata={"description": "A hundred at most."})
    compared_at = Timestamp()


@blp.route("/ledger/accounts")
class LedgerAccounts(MethodView):
    @requires("payments:admin")
    @blp.arguments(PageQuery, location="query")
    @blp.response(200, page_of(LedgerAccountSchema))
    def get(self, query: dict[str, Any]) -> Page:
        """List the accounts of the ledger with their balances."""
        return page(ask("payments.list_ledger_accounts", **query))


@blp.route("/ledger/entries")
class LedgerEntries(MethodView):
    @requires("payments:admin")
    @blp.arguments(LedgerEntriesQuery, location="query")
    @blp.response(200, page_of(LedgerEntrySchema))
    def get(self, query: dict[str, Any]) -> Page:
        """List what was booked, newest first; of one order or account where it is named."""
        return page(ask("payments.list_ledger_entries", **query))


@blp.route("/reconciliation/reports")
class ReconciliationReports(MethodView):
    @requires("payments:admin")
    @blp.arguments(PageQuery, location="query")
    @blp.response(200, page_of(ReconciliationSchema))
    def get(self, query: dict[str, Any]) -> Page:
        """List how the days' movements at the providers compare with the ledger, newest first."""
        return page(ask("payments.list_reconciliations", **query))
