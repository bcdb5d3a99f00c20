"""What every process shares: tables with their rules, events, errors. Imports nobody but settings."""
