"""The channels of notifications. Each module sends to one channel: in_app, email (smtp, mime), push (fcm, web_push)."""
