"""The documentation as a site: `make site` builds it from docs/, README.md and the commands themselves."""
