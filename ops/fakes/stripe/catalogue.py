"""Implement products, prices and coupons."""

from ops.fakes.calls import Call
from ops.fakes.store import Document
from ops.fakes.stripe.api import StripeApi

from . import errors, forms, objects


def routes(api: StripeApi) -> None:
    api.route("POST", "/v1/products", create_product)
    api.route("GET", "/v1/products", lambda call: listed(call, "product"))
    api.route(
        "GET", "/v1/products/<product_id>", lambda call, product_id: objects.get_or_404(call, "product", product_id)
    )
    api.route("POST", "/v1/products/<product_id>", update_product)
    api.route("POST", "/v1/prices", create_price)
    api.route("GET", "/v1/prices", lambda call: listed(call, "price"))
    api.route("GET", "/v1/prices/<price_id>", lambda call, price_id: objects.get_or_404(call, "price", price_id))
    api.route("POST", "/v1/prices/<price_id>", update_price)
    api.route("POST", "/v1/coupons", create_coupon)
    api.route("GET", "/v1/coupons", lambda call: listed(call, "coupon"))
    api.route("GET", "/v1/coupons/<coupon_id>", lambda call, coupon_id: objects.get_or_404(call, "coupon", coupon_id))
    api.route("POST", "/v1/coupons/<coupon_id>", update_coupon)
    api.route("DELETE", "/v1/coupons/<coupon_id>", delete_coupon)


def listed(call: Call, kind: str) -> Document:
    names = [name for name in ("product", "currency", "type") if name in call.message]
    documents = call.db.find(kind, **{name: call.message[name] for name in names})
    if "active" in call.message:
        active = forms.flag(call.message, "active")
        documents = [document for document in documents if document["active"] is active]
    return objects.page(call, documents, f"/v1/{kind}s")


def new_product(call: Call, message: Document) -> Document:
    return objects.new(
        call,
        "product",
        "prod",
        active=forms.flag(message, "active", default=True),
        name=forms.text(message, "name") or forms.required(message, "name"),
        description=forms.text(message, "description"),
        images=message.get("images") or [],
        tax_code=message.get("tax_code"),
        url=message.get("url"),
        updated=int(call.now),
        metadata=forms.metadata(message),
    )


def create_product(call: Call) -> Document:
    product = new_product(call, call.message)
    if wanted := call.message.get("id"):
        if call.db.get(wanted):
            raise errors.invalid(f"Product already exists: {wanted}", "id", "resource_already_exists")
        product["id"] = wanted
    objects.emit(call, "product.created", product)
    return objects.save(call, product)


def update_product(call: Call, product_id: str) -> Document:
    product = objects.get_or_404(call, "product", product_id)
    product |= {name: call.message[name] for name in ("name", "description", "url", "tax_code") if name in call.message}
    product["active"] = forms.flag(call.message, "active", default=product["active"])
    product["metadata"] = forms.metadata(call.message, product["metadata"])
    objects.emit(call, "product.updated", product)
    return objects.save(call, product)


def new_price(call: Call, message: Document, product_id: str) -> Document:
    """Return a price with the currency and unit_amount of ``message``. Prices of ad-hoc line items are not saved."""
    recurring = message.get("recurring")
    return objects.new(
        call,
        "price",
        "price",
        active=True,
        billing_scheme="per_unit",
        currency=forms.currency(message),
        unit_amount=(amount := _unit_amount(message)),
        unit_amount_decimal=str(amount),
        product=product_id,
        nickname=message.get("nickname"),
        lookup_key=message.get("lookup_key"),
        recurring=recurring,
        tax_behavior=message.get("tax_behavior", "unspecified"),
        type="recurring" if recurring else "one_time",
        metadata=forms.metadata(message),
    )


def _unit_amount(message: Document) -> int:
    amount = forms.integer(message, "unit_amount")
    if amount < 0:
        raise errors.invalid("Invalid non-negative integer", "unit_amount", "parameter_invalid_integer")
    return amount


def create_price(call: Call) -> Document:
    if data := call.message.get("product_data"):
        product = objects.save(call, new_product(call, data))
    else:
        product = objects.get_or_400(call, "product", forms.required(call.message, "product"), "product")
    price = new_price(call, call.message, product["id"])
    objects.emit(call, "price.created", price)
    return objects.save(call, price)


def update_price(call: Call, price_id: str) -> Document:
    price = objects.get_or_404(call, "price", price_id)
    price["active"] = forms.flag(call.message, "active", default=price["active"])
    price["nickname"] = call.message.get("nickname", price["nickname"])
    price["metadata"] = forms.metadata(call.message, price["metadata"])
    return objects.save(call, price)


def create_coupon(call: Call) -> Document:
    percent, amount = call.message.get("percent_off"), call.message.get("amount_off")
    if (percent is None) == (amount is None):
        raise errors.invalid("You must pass either percent_off or amount_off.", "percent_off", "parameter_missing")
    coupon = objects.new(
        call,
        "coupon",
        "co",
        name=call.message.get("name"),
        percent_off=float(percent) if percent else None,
        amount_off=forms.positive(call.message, "amount_off") if amount else None,
        currency=forms.currency(call.message) if amount else None,
        duration=forms.one_of(call.message, "duration", ("once", "repeating", "forever"), "once"),
        duration_in_months=forms.integer(call.message, "duration_in_months", 0) or None,
        max_redemptions=forms.integer(call.message, "max_redemptions", 0) or None,
        redeem_by=forms.integer(call.message, "redeem_by", 0) or None,
        times_redeemed=0,
        valid=True,
        metadata=forms.metadata(call.message),
    )
    coupon["id"] = call.message.get("id") or coupon["id"].removeprefix("co_")[:8]
    if call.db.get(coupon["id"]):
        raise errors.invalid("Coupon already exists.", "id", "resource_already_exists")
    objects.emit(call, "coupon.created", coupon)
    return objects.save(call, coupon)


def update_coupon(call: Call, coupon_id: str) -> Document:
    coupon = objects.get_or_404(call, "coupon", coupon_id)
    coupon["name"] = call.message.get("name", coupon["name"])
    coupon["metadata"] = forms.metadata(call.message, coupon["metadata"])
    return objects.save(call, coupon)


def delete_coupon(call: Call, coupon_id: str) -> Document:
    objects.get_or_404(call, "coupon", coupon_id)
    call.db.delete(coupon_id)
    return {"id": coupon_id, "object": "coupon", "deleted": True}


def discount_minor(call: Call, coupon_id: str, *, subtotal_minor: int, currency: str) -> int:
    """Return the discount of the coupon.

    Raises ApiError for an unknown, expired or used-up coupon or another currency.
    """
    coupon = objects.get_or_400(call, "coupon", coupon_id, "discounts[0][coupon]")
    late = coupon["redeem_by"] is not None and coupon["redeem_by"] <= call.now
    spent = coupon["max_redemptions"] is not None and coupon["times_redeemed"] >= coupon["max_redemptions"]
    if late or spent:
        raise errors.invalid(f"Coupon {coupon_id} is expired.", "discounts[0][coupon]", "coupon_expired")
    if coupon["percent_off"] is not None:
        return round(subtotal_minor * coupon["percent_off"] / 100)
    if coupon["currency"] != currency:
        raise errors.invalid("The coupon's currency must match the line items'.", "discounts[0][coupon]")
    return min(int(coupon["amount_off"]), subtotal_minor)
