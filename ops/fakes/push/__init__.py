"""A fake of Firebase Cloud Messaging and for the push services of browsers, with devices that can read."""
