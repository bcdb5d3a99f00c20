"""A fake of Firebase Cloud Messaging and of the push services of browsers, with devices that decrypt their messages."""
