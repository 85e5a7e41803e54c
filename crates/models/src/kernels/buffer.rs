//! Memory for results.

use crate::memory::prefer_large_pages;

/// Zeros. Where there are many of them, the kernel is asked for large pages: to fault in small ones takes as long as
/// a product of the same size.
pub(super) fn zeros(count: usize) -> Vec<f32> {
    const LARGE: usize = 1 << 20;
    let mut zeros = vec![0.0f32; count];
    if count >= LARGE {
        prefer_large_pages(&mut zeros);
    }
    zeros
}

#[cfg(test)]
mod tests {
    #[test]
    fn many_zeros_are_zeros() {
        for count in [0, 1, (1 << 20) - 1, (1 << 20) + 3] {
            let zeros = super::zeros(count);
            assert_eq!(zeros.len(), count);
            assert!(zeros.iter().all(|zero| *zero == 0.0));
        }
    }
}
