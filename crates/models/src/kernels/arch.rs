//! Which instructions kernels use.

use pulp::Arch;

/// The best that this machine has; in tests, those that [`on_each`] gives its threads.
pub(super) fn arch() -> Arch {
    #[cfg(test)]
    if let Some(arch) = tests::GIVEN.get() {
        return arch;
    }
    Arch::new()
}

#[cfg(test)]
pub(super) use self::tests::on_each;

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use rayon::ThreadPoolBuilder;

    use super::*;

    thread_local! {
        pub(super) static GIVEN: Cell<Option<Arch>> = const { Cell::new(None) };
    }

    /// What `compute` makes with each instruction set that this machine has, by the name of that, and that any number
    /// of threads makes the same.
    pub(in crate::kernels) fn on_each(
        compute: impl Fn() -> Vec<f32> + Sync,
    ) -> impl Iterator<Item = (&'static str, Vec<f32>)> {
        available().into_iter().map(move |(name, arch)| {
            let on = |threads: usize| {
                let pool = ThreadPoolBuilder::new().num_threads(threads);
                let pool = pool.start_handler(move |_| GIVEN.set(Some(arch)));
                pool.build().expect("threads can be had").install(&compute)
            };
            let alone = on(1);
            for threads in [2, 3, 7] {
                let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
                assert!(
                    bits(&alone) == bits(&on(threads)),
                    "{threads} threads with {name} compute something else"
                );
            }
            (name, alone)
        })
    }

    fn available() -> Vec<(&'static str, Arch)> {
        let mut all = vec![("no vectors", Arch::Scalar)];
        #[cfg(target_arch = "x86_64")]
        {
            all.extend(pulp::x86::V3::try_new().map(|simd| ("AVX2", Arch::V3(simd))));
            all.extend(pulp::x86::V4::try_new().map(|simd| ("AVX-512", Arch::V4(simd))));
        }
        #[cfg(target_arch = "aarch64")]
        all.extend(pulp::aarch64::Neon::try_new().map(|simd| ("NEON", Arch::Neon(simd))));
        all
    }

    #[test]
    fn each_instruction_set_has_vectors_of_its_own() {
        let widths = on_each(|| vec![crate::kernels::lanes::panel_width() as f32]);
        let widths: Vec<f32> = widths.map(|(_, width)| width[0]).collect();
        assert_eq!(widths[0], 2.0, "what is called no vectors has some");
        assert!(widths.is_sorted_by(|width, next| width < next), "{widths:?}");
    }
}
