-- The service that builds an order upon a promise. Whoever asked for it is still told about it, and changes it no more.
ALTER TABLE promises ADD COLUMN taken_by TEXT;
