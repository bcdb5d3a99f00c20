"""People, for staff: what a person has bought, joined and received, why they have access, and who learns a course."""
