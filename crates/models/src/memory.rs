//! Advice to the kernel about memory. There is no safe way to give it.

use std::ffi::c_void;

use rustix::mm::{Advice, madvise};

const PAGE: usize = 4096;

/// Asks for large pages under `values`.
pub(crate) fn prefer_large_pages(values: &mut [f32]) {
    let (start, length) = pages(bytemuck::cast_slice(values));
    #[expect(unsafe_code, reason = "there is no safe way to give advice about memory")]
    // SAFETY: the range lies within `values`, and the advice changes no byte of it. A kernel without large pages
    // refuses, which costs nothing.
    let _ = unsafe { madvise(start, length, Advice::LinuxHugepage) };
}

/// Gives back the memory in which a part of a mapped file is held. Whoever reads it again gets it from the file.
///
/// # Safety
/// `mapped` lies in a read-only mapping of a file that nobody changes: any other memory would come back as zeros.
#[expect(unsafe_code, reason = "only the caller knows that it is a mapped file")]
pub(crate) unsafe fn forget_mapped(mapped: &[u8]) {
    let (start, length) = pages(mapped);
    // SAFETY: what is dropped is read again as it was, as the caller promises.
    let _ = unsafe { madvise(start, length, Advice::LinuxDontNeed) };
}

/// The whole pages within `bytes`.
fn pages(bytes: &[u8]) -> (*mut c_void, usize) {
    let skipped = bytes.as_ptr().align_offset(PAGE);
    let length = bytes.len().saturating_sub(skipped) / PAGE * PAGE;
    (bytes.as_ptr().wrapping_add(skipped).cast_mut().cast(), length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_pages_are_meant() {
        let bytes = vec![0u8; 5 * PAGE];
        let first = bytes.as_ptr().align_offset(PAGE);
        let (start, length) = pages(&bytes[first..]);
        assert_eq!(
            (start.cast_const().cast(), length),
            (bytes[first..].as_ptr(), (5 * PAGE - first) / PAGE * PAGE)
        );
        let (start, length) = pages(&bytes[first + 1..first + 2 * PAGE + 1]);
        assert_eq!((start.cast_const().cast(), length), (bytes[first + PAGE..].as_ptr(), PAGE));
        assert_eq!(pages(&bytes[first + 1..first + 9]).1, 0);
    }
}
