"""The service: photos described and searched in the browser, and over HTTP."""
