//! Tasks that somebody owns, and what becomes of their panics.
//!
//! Rule: a watch that is dead must not look like one that has no news: its panic is one of its owner.

use std::convert::Infallible;
use std::future::pending;
use std::panic::resume_unwind;

use tokio::task::JoinSet;

/// Waits beside the tasks of a set; never ends.
///
/// # Panics
///
/// A task panicked: with what it said.
pub(crate) async fn watched(tasks: &mut JoinSet<()>) -> Infallible {
    while let Some(joined) = tasks.join_next().await {
        if let Err(error) = joined
            && let Ok(panic) = error.try_into_panic()
        {
            resume_unwind(panic);
        }
    }
    pending().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn panic_of_a_task_is_one_of_its_owner() {
        let mut tasks = JoinSet::new();
        tasks.spawn(async {});
        tasks.spawn(pending());
        tasks.spawn(async { panic!("lost") });
        let mut owner = JoinSet::new();
        owner.spawn(async move {
            watched(&mut tasks).await;
        });
        let panic = owner.join_next().await.unwrap().unwrap_err().into_panic();
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"lost"));
    }
}
