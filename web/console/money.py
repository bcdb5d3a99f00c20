"""Coupons, and the ledger with its reconciliation."""

from typing import Any, cast

from coursebus import models
from flask import render_template, request, url_for
from flask.typing import ResponseReturnValue

from web.api import client
from web.language import _

from .blueprint import MONEY, Field, ask, blueprint, done, optional, page_of, staff_only


@blueprint.get("/coupons")
@staff_only("payments:admin")
def coupons() -> str:
    """List the coupons."""
    return render_template("console/coupons.html", found=page_of(client().list_coupons(limit=50)))


@blueprint.route("/coupons/new", methods=["GET", "POST"])
@staff_only("payments:admin")
def new_coupon() -> ResponseReturnValue:
    """Create a coupon."""
    back = url_for("console.coupons")
    if request.method == "POST":
        terms: dict[str, Any] = {"code": request.form.get("code", ""), "value": request.form.get("value", 0, int)}
        if currency := request.form.get("currency", "").strip().upper():
            terms["currency"] = currency
        if limit := request.form.get("max_redemptions", 0, int):
            terms["max_redemptions"] = limit
        kind = cast("models.CouponKind", request.form.get("kind", "percent"))
        created = client().create_coupon(models.CouponTerms(kind=kind, **terms))
        return done(_("The coupon %(code)s was created.") % {"code": created.code}, back)
    fields = [
        Field("code", _("Code")),
        Field("kind", _("Kind"), options={"percent": _("percent"), "fixed": _("amount")}),
        Field("value", _("Value: percent, or minor units of the currency"), type="number"),
        Field("currency", _("Currency, for a fixed amount"), required=False),
        Field("max_redemptions", _("How often in total; empty: no limit"), type="number", required=False),
    ]
    return ask(
        _("New coupon"),
        "",
        text=_("Codes are not case-sensitive."),
        button=_("Create the coupon"),
        back=back,
        fields=fields,
    )


@blueprint.get("/ledger")
@staff_only(*MONEY)
def ledger() -> str:
    """Show the balances of the accounts, and the comparison with the providers."""
    accounts = optional(lambda: [*client().list_ledger_accounts()])
    reports = optional(client().list_reconciliation_reports(limit=30).page)
    return render_template("console/ledger.html", accounts=accounts, reports=reports)
