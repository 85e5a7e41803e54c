//! Memory for results.

/// Zeros. Where there are many of them, the kernel is asked for large pages: to fault in small ones takes as long as
/// a product of the same size.
pub(super) fn zeros(count: usize) -> Vec<f32> {
    const LARGE: usize = 1 << 20;
    let mut zeros = vec![0.0f32; count];
    if count >= LARGE {
        advise(&mut zeros);
    }
    zeros
}

#[cfg(target_os = "linux")]
fn advise(values: &mut [f32]) {
    const PAGE: usize = 4096;
    let start = values.as_mut_ptr().cast::<u8>();
    let skipped = start.align_offset(PAGE);
    let bytes = size_of_val(values).saturating_sub(skipped) / PAGE * PAGE;
    #[expect(unsafe_code, reason = "there is no safe way to give advice about memory")]
    // SAFETY: the range lies within `values`, and the advice changes no byte of it. A kernel without large pages
    // refuses, which costs nothing.
    let _ = unsafe {
        rustix::mm::madvise(start.wrapping_add(skipped).cast(), bytes, rustix::mm::Advice::LinuxHugepage)
    };
}

#[cfg(not(target_os = "linux"))]
fn advise(_: &mut [f32]) {}

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
