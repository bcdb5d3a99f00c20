"""The documentation site: Sphinx over the Markdown files of the repository, and pages generated from the code."""
