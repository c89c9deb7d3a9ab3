//! The listener: it owns its connections, so that it can end them.
