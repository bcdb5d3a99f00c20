"""List the parameters that create calls accept. Any other parameter is rejected."""

SESSION = (
    "adaptive_pricing", "after_expiration", "allow_promotion_codes", "allowed_payment_method_types",
    "automatic_tax", "billing_address_collection", "branding_settings", "cancel_url", "client_reference_id",
    "consent_collection", "currency", "custom_fields", "custom_text", "customer", "customer_account",
    "customer_creation", "customer_email", "customer_update", "discounts", "excluded_payment_method_types",
    "expires_at", "integration_identifier", "invoice_creation", "line_items", "locale", "managed_payments",
    "metadata", "mode", "name_collection", "optional_items", "origin_context", "payment_intent_data",
    "payment_method_collection", "payment_method_configuration", "payment_method_data", "payment_method_options",
    "payment_method_types", "permissions", "phone_number_collection", "redirect_on_completion", "return_url",
    "saved_payment_method_options", "setup_intent_data", "shipping_address_collection", "shipping_options",
    "submit_type", "subscription_data", "success_url", "tax_id_collection", "ui_mode", "wallet_options",
)  # fmt: skip
PAYMENT_INTENT = (
    "allowed_payment_method_types", "amount", "amount_details", "application_fee_amount",
    "automatic_payment_methods", "capture_method", "confirm", "confirmation_method", "confirmation_token",
    "currency", "customer", "customer_account", "description", "error_on_requires_action",
    "excluded_payment_method_types", "hooks", "mandate", "mandate_data", "metadata", "off_session", "on_behalf_of",
    "payment_details", "payment_method", "payment_method_configuration", "payment_method_data",
    "payment_method_options", "payment_method_types", "radar_options", "receipt_email", "return_url",
    "setup_future_usage", "shipping", "statement_descriptor", "statement_descriptor_suffix", "transfer_data",
    "transfer_group", "use_stripe_sdk",
)  # fmt: skip
REFUND = (
    "amount", "charge", "currency", "customer", "instructions_email", "metadata", "origin", "payment_intent",
    "reason", "refund_application_fee", "reverse_transfer",
)  # fmt: skip
# Parameters nested in others.
LINE_ITEM = ("adjustable_quantity", "dynamic_tax_rates", "metadata", "price", "price_data", "quantity", "tax_rates")
PRICE_DATA = (
    "currency", "product", "product_data", "recurring", "tax_behavior", "unit_amount", "unit_amount_decimal",
)  # fmt: skip
PRODUCT_DATA = ("description", "images", "metadata", "name", "tax_code", "tax_details", "unit_label")
PAYMENT_INTENT_DATA = (
    "application_fee_amount", "capture_method", "description", "metadata", "on_behalf_of", "receipt_email",
    "setup_future_usage", "shipping", "statement_descriptor", "statement_descriptor_suffix", "transfer_data",
    "transfer_group",
)  # fmt: skip
