"""The fake of an Auth0 tenant: tokens, signing keys and a part of the management API.

Any e-mail address signs up with the password "demo". The control endpoints below ``/__`` mint tokens and rotate keys.
"""
