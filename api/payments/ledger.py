"""The double-entry ledger and reconciliation reports."""

from typing import Any

import marshmallow as ma
from flask.views import MethodView

from api.auth import require_auth
from api.pagination import Page, PageQuery, page_response, page_schema
from api.rpc import call
from api.schemas import Schema, Timestamp
from models.commands import ListLedgerAccounts, ListLedgerEntries, ListReconciliations

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
    source_id = ma.fields.UUID(metadata={"description": "Id of the payment, refund or dispute behind the entry."})
    account = ma.fields.Str()
    amount_minor = ma.fields.Int(metadata=_SIGNED)
    currency = ma.fields.Str()
    recorded_at = Timestamp()


class MismatchSchema(Schema):
    object_id = ma.fields.Str(metadata={"description": "Id of the provider's object."})
    provider_minor = ma.fields.Int()
    ledger_minor = ma.fields.Int()


class ReconciliationSchema(Schema):
    id = ma.fields.UUID()
    provider = ma.fields.Str()
    account = ma.fields.Str()
    since = Timestamp(metadata={"description": "Start of the period; objects count by creation time at the provider."})
    until = Timestamp()
    kind = ma.fields.Str(validate=ma.validate.OneOf(["capture", "refund", "dispute"]))
    currency = ma.fields.Str()
    provider_minor = ma.fields.Int(metadata={"description": "Total reported by the provider."})
    ledger_minor = ma.fields.Int(metadata={"description": "Total in the ledger for the same objects."})
    differing = ma.fields.List(
        ma.fields.Nested(MismatchSchema), metadata={"description": "Objects whose amounts differ, at most 100."}
    )
    compared_at = Timestamp()


@blp.route("/ledger/accounts")
class LedgerAccounts(MethodView):
    @require_auth("payments:admin")
    @blp.arguments(PageQuery, location="query")
    @blp.doc(operationId="listLedgerAccounts")
    @blp.response(200, page_schema(LedgerAccountSchema))
    def get(self, query: dict[str, Any]) -> Page:
        """List ledger accounts

        Returns each account with its balance per currency.
        """
        return page_response(call(ListLedgerAccounts(**query)))


@blp.route("/ledger/entries")
class LedgerEntries(MethodView):
    @require_auth("payments:admin")
    @blp.arguments(LedgerEntriesQuery, location="query")
    @blp.doc(operationId="listLedgerEntries")
    @blp.response(200, page_schema(LedgerEntrySchema))
    def get(self, query: dict[str, Any]) -> Page:
        """List ledger entries

        Newest first. Filter by order or account.
        """
        return page_response(call(ListLedgerEntries(**query)))


@blp.route("/reconciliation/reports")
class ReconciliationReports(MethodView):
    @require_auth("payments:admin")
    @blp.arguments(PageQuery, location="query")
    @blp.doc(operationId="listReconciliationReports")
    @blp.response(200, page_schema(ReconciliationSchema))
    def get(self, query: dict[str, Any]) -> Page:
        """List reconciliation reports

        Each report compares the provider's movements of a period with the ledger. Newest first.
        """
        return page_response(call(ListReconciliations(**query)))
