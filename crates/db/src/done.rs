//! What a commit sets off.

/// What follows the commit.
#[derive(Default)]
pub(crate) struct Done {
    pub(crate) wake: bool,
    pub(crate) after: Vec<Box<dyn FnOnce() + Send + Sync>>,
}

impl Done {
    /// The commit is durable. Says whether [`Db::committed`] is to be signalled.
    pub(crate) fn follow(self) -> bool {
        for run in self.after {
            run();
        }
        self.wake
    }
}
