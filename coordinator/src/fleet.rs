//! Many nodes at once, bounded, with results in the rack's order whatever finished first.

use futures_util::stream::{self, StreamExt as _};

/// Runs `work` for each item, at most `limit` at a time. One item's trouble never stops another's work.
pub async fn each<T, R, F>(limit: usize, items: impl IntoIterator<Item = T>, work: impl Fn(T) -> F) -> Vec<R>
where
    F: Future<Output = R>,
{
    let work = &work;
    let numbered = items.into_iter().enumerate().map(|(n, item)| async move { (n, work(item).await) });
    let mut results: Vec<(usize, R)> = stream::iter(numbered).buffer_unordered(limit.max(1)).collect().await;
    results.sort_by_key(|(n, _)| *n);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    #[tokio::test(flavor = "current_thread")]
    async fn the_limit_holds_and_the_order_stays() {
        let (now, most) = (Cell::new(0), Cell::new(0));
        let results = super::each(3, 0..20, |n| {
            let (now, most) = (&now, &most);
            async move {
                now.set(now.get() + 1);
                most.set(most.get().max(now.get()));
                for _ in 0..(20 - n) {
                    tokio::task::yield_now().await;
                }
                now.set(now.get() - 1);
                n
            }
        })
        .await;
        assert_eq!(results, (0..20).collect::<Vec<_>>());
        assert_eq!(most.get(), 3);
    }
}
