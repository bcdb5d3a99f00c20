"""Coupons, and the ledger with its reconciliation."""

from typing import Any, cast

from coursebus import models
from flask import render_template, request, url_for
from flask.typing import ResponseReturnValue

from web.api import client

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
        return done(f"The coupon {created.code} was created.", back)
    fields = [
        Field("code", "Code"),
        Field("kind", "Kind", options=("percent", "fixed")),
        Field("value", "Value: percent, or minor units of the currency", type="number"),
        Field("currency", "Currency, for a fixed amount", required=False),
        Field("max_redemptions", "How often in total; empty: no limit", type="number", required=False),
    ]
    return ask(
        "New coupon", "", text="Codes are not case-sensitive.", button="Create the coupon", back=back, fields=fields
    )


@blueprint.get("/ledger")
@staff_only(*MONEY)
def ledger() -> str:
    """Show the balances of the accounts, and the comparison with the providers."""
    accounts = optional(lambda: [*client().list_ledger_accounts()])
    reports = optional(client().list_reconciliation_reports(limit=30).page)
    return render_template("console/ledger.html", accounts=accounts, reports=reports)
