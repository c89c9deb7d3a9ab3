-- The service that builds an order upon a promise. The creator of the promise can still read it, but not change it.
ALTER TABLE promises ADD COLUMN taken_by TEXT;
