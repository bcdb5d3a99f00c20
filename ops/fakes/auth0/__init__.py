"""The fake of an Auth0 tenant: tokens, keys, and a small part of the management API.

Any e-mail address signs up with the password "demo"; the ``/__`` paths mint and rotate what a test needs.
"""
