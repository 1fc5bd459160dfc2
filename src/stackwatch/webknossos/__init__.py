"""What speaks with a WEBKNOSSOS server: knows its protocol, and no ledger, folder or job."""
