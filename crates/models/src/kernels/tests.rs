//! Every kernel beside the plainest way to compute the same in f64, over odd shapes and numbers of threads.

use super::arch::on_each;
use super::*;

/// Numbers in [-1, 1) that look drawn.
fn values(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// That `compute` makes what was expected with each instruction set, and on any number of threads.
#[track_caller]
fn assert_close(case: &str, compute: impl Fn() -> Vec<f32> + Sync, expected: &[f64], tolerance: f64) {
    for (arch, found) in on_each(compute) {
        assert_eq!(found.len(), expected.len(), "{case}, {arch}: another shape");
        for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
            let difference = (f64::from(*found) - expected).abs();
            assert!(difference <= tolerance, "{case}, {arch}: {found} instead of {expected} at {index}");
        }
    }
}

#[test]
fn products_are_those_of_the_plain_way() {
    for (rows, inputs, outputs) in [
        (1, 1, 1),
        (1, 40, 33),
        (3, 7, 5),
        (8, 384, 32),
        (17, 385, 31),
        (65, 800, 70),
        (130, 33, 129),
        (400, 5, 3),
    ] {
        let (x, weight) = (values(rows * inputs, 1), values(outputs * inputs, 2));
        let (bias, around) = (values(outputs, 3), values(rows * outputs, 4));
        for (bias, around) in [(None, None), (Some(&bias[..]), None), (Some(&bias), Some(&around[..]))] {
            let product = || {
                let packed = Packed::new(&weight, outputs, inputs, 1);
                multiply(&x, &packed, Start { bias, around })
            };
            let mut expected = Vec::new();
            for row in 0..rows {
                for output in 0..outputs {
                    let terms = (0..inputs).map(|input| {
                        f64::from(x[row * inputs + input]) * f64::from(weight[output * inputs + input])
                    });
                    let start = bias.map_or(0.0, |bias| f64::from(bias[output]))
                        + around.map_or(0.0, |around| f64::from(around[row * outputs + output]));
                    expected.push(terms.sum::<f64>() + start);
                }
            }
            assert_close(&format!("{rows} × {inputs} × {outputs}"), product, &expected, 1e-4);
        }
    }
}

fn plain_convolution(
    x: &[f32],
    images: usize,
    shape: &Convolution,
    weight: &[f32],
    (inputs, outputs): (usize, usize),
) -> Vec<f64> {
    let (height, width) = shape.result();
    let mut out = Vec::new();
    for place in 0..images * height * width * outputs {
        let (output, pixel) = (place % outputs, place / outputs);
        let (column, line, image) = (pixel % width, pixel / width % height, pixel / width / height);
        let mut sum = 0.0;
        for tap in 0..shape.size * shape.size {
            let y = (line * shape.stride + tap / shape.size) as isize - shape.padding.0 as isize;
            let x_ = (column * shape.stride + tap % shape.size) as isize - shape.padding.0 as isize;
            if y < 0 || x_ < 0 || y >= shape.height as isize || x_ >= shape.width as isize {
                continue;
            }
            let pixel = (image * shape.height + y as usize) * shape.width + x_ as usize;
            for input in 0..inputs {
                let factor = weight[(output * inputs + input) * shape.size * shape.size + tap];
                sum += f64::from(x[pixel * inputs + input]) * f64::from(factor);
            }
        }
        out.push(sum);
    }
    out
}

#[test]
fn convolutions_are_those_of_the_plain_way() {
    let same = (3, 1, (1, 1));
    let cases = [
        // Kernel, height and width, inputs and outputs, images.
        (same, (1, 1), (3, 5), 1),
        (same, (5, 7), (4, 33), 2),
        (same, (8, 8), (32, 32), 1),
        (same, (9, 13), (32, 40), 2),
        (same, (16, 11), (48, 64), 1),
        (same, (34, 21), (160, 70), 1),
        (same, (8, 40), (144, 96), 3),
        // Panels that do not divide evenly among threads.
        (same, (8, 8), (32, 132), 1),
        ((3, 2, (1, 1)), (9, 8), (20, 40), 2),
        ((3, 2, (0, 1)), (8, 10), (16, 16), 1),
        ((1, 1, (0, 0)), (6, 5), (40, 64), 2),
        ((4, 4, (0, 0)), (9, 12), (3, 24), 2),
        ((2, 2, (0, 0)), (1, 4), (3, 24), 1),
    ];
    for ((size, stride, padding), (height, width), (inputs, outputs), images) in cases {
        let shape = Convolution { size, stride, padding, height, width };
        let x = values(images * height * width * inputs, 1);
        let weight = values(outputs * inputs * size * size, 2);
        let (result_height, result_width) = shape.result();
        // One for each picture.
        let bias = values(images * outputs, 3);
        let around = values(images * result_height * result_width * outputs, 4);
        let start = Start { bias: Some(&bias), around: Some(&around) };
        let convolved = || {
            let packed = Packed::new(&weight, outputs, inputs, size * size);
            convolve(&x, shape, &packed, start)
        };
        let mut expected = plain_convolution(&x, images, &shape, &weight, (inputs, outputs));
        for (index, expected) in expected.iter_mut().enumerate() {
            let image = index / (result_height * result_width * outputs);
            *expected += f64::from(bias[image * outputs + index % outputs]) + f64::from(around[index]);
        }
        assert_close(&format!("{shape:?}, {inputs} to {outputs}"), convolved, &expected, 2e-4);
    }
}

#[test]
fn attention_is_that_of_the_plain_way() {
    for (batch, count, size, queries, keys) in [
        (1, 1, 1, 1, 1),
        (2, 3, 8, 5, 77),
        (1, 2, 40, 130, 300),
        (2, 1, 64, 64, 128),
        (1, 2, 80, 9, 129),
        (1, 1, 512, 70, 65),
    ] {
        let width = count * size;
        let heads = Heads { count, size, queries, keys, scale: 0.5 };
        let q = values(batch * queries * width, 1);
        let (k, v) = (values(batch * keys * width, 2), values(batch * keys * width, 3));
        let mut shared = values(queries * keys, 4);
        // Each query sees the first key at least.
        for (index, mask) in shared.iter_mut().enumerate() {
            if index % keys > 0 && *mask > 0.5 {
                *mask = f32::NEG_INFINITY;
            }
        }
        let own = values(batch * count * queries * keys, 5);
        for mask in [None, Some(&shared[..]), Some(&own[..])] {
            let attended = || attend(&q, &k, &v, heads, mask);
            let expected = plain_attention((&q, &k, &v), batch, heads, mask);
            assert_close(&format!("{batch} × {heads:?}"), attended, &expected, 1e-5);
        }
    }
}

fn plain_attention(
    (q, k, v): (&[f32], &[f32], &[f32]),
    batch: usize,
    heads: Heads,
    mask: Option<&[f32]>,
) -> Vec<f64> {
    let Heads { count, size, queries, keys, scale } = heads;
    let width = count * size;
    let mut out = vec![0.0; batch * queries * width];
    for index in 0..batch * queries * count {
        let (head, query, image) = (index % count, index / count % queries, index / count / queries);
        let at = |token: usize, all: usize| (image * all + token) * width + head * size;
        let scores: Vec<f64> = (0..keys)
            .map(|key| {
                let terms = (0..size).map(|place| {
                    f64::from(q[at(query, queries) + place]) * f64::from(k[at(key, keys) + place])
                });
                let mask = mask.map_or(0.0, |mask| {
                    let own = (image * count + head) * queries * keys % mask.len();
                    mask[own + query * keys + key]
                });
                terms.sum::<f64>() * f64::from(scale) + f64::from(mask)
            })
            .collect();
        let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = scores.iter().map(|score| (score - most).exp()).collect();
        let total: f64 = weights.iter().sum();
        for place in 0..size {
            let terms =
                weights.iter().enumerate().map(|(key, weight)| weight * f64::from(v[at(key, keys) + place]));
            out[at(query, queries) + place] = terms.sum::<f64>() / total;
        }
    }
    out
}

#[test]
fn normalizations_are_those_of_the_plain_way() {
    for (images, pixels, channels, groups) in
        [(1, 1, 4, 2), (2, 150, 33, 3), (1, 64, 64, 32), (3, 65, 96, 32)]
    {
        // Far from zero: moments must not cancel.
        let x: Vec<f32> = values(images * pixels * channels, 1).iter().map(|value| value + 10.0).collect();
        let (weight, bias) = (values(channels, 2), values(channels, 3));
        let width = channels / groups;
        let mut expected = vec![0.0; x.len()];
        for group in 0..images * groups {
            let (image, first) = (group / groups, group % groups * width);
            let own: Vec<usize> = (0..pixels * width)
                .map(|index| (image * pixels + index / width) * channels + first + index % width)
                .collect();
            let mean = own.iter().map(|index| f64::from(x[*index])).sum::<f64>() / own.len() as f64;
            let squares = own.iter().map(|index| (f64::from(x[*index]) - mean).powi(2)).sum::<f64>();
            let deviation = (squares / own.len() as f64 + 1e-5).sqrt();
            for index in own {
                let channel = index % channels;
                let scaled = (f64::from(x[index]) - mean) / deviation * f64::from(weight[channel]);
                expected[index] = scaled + f64::from(bias[channel]);
            }
        }
        let norm = |then| group_norm(&x, pixels, (&weight, &bias), (groups, 1e-5), then);
        let case = format!("{images} × {pixels} × {channels} in {groups}");
        assert_close(&case, || norm(None), &expected, 2e-5);
        let silu: Vec<f64> = expected.iter().map(|x| x / (1.0 + (-x).exp())).collect();
        assert_close(&case, || norm(Some(Pointwise::Silu)), &silu, 2e-5);
    }
    for (rows, width) in [(1, 1), (5, 33), (70, 64), (3, 320)] {
        let x: Vec<f32> = values(rows * width, 1).iter().map(|value| value + 10.0).collect();
        let (weight, bias) = (values(width, 2), values(width, 3));
        let normed = || layer_norm(&x, (&weight, &bias), 1e-5);
        let mut expected = Vec::new();
        for row in x.chunks_exact(width) {
            let mean = row.iter().map(|x| f64::from(*x)).sum::<f64>() / width as f64;
            let squares = row.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / width as f64;
            expected.extend(row.iter().zip(weight.iter().zip(&bias)).map(|(x, (weight, bias))| {
                (f64::from(*x) - mean) / (squares + 1e-5).sqrt() * f64::from(*weight) + f64::from(*bias)
            }));
        }
        assert_close(&format!("{rows} × {width}"), normed, &expected, 1e-5);
    }
}

#[test]
fn functions_of_a_number_are_exact_to_its_precision() {
    let mut x: Vec<f32> = (-4000..4000).map(|index| index as f32 / 200.0).collect();
    x.extend([-200.0, -90.0, -88.0, -0.0, 1e-30, 88.0, 200.0, f32::INFINITY]);
    let erf = |x: f32| libm::erf(f64::from(x) / std::f64::consts::SQRT_2);
    type Plain<'a> = &'a dyn Fn(f32) -> f64;
    let cases: [(Pointwise, Plain<'_>); 4] = [
        (Pointwise::Silu, &|x| f64::from(x) / (1.0 + (-f64::from(x)).exp())),
        (Pointwise::QuickGelu, &|x| f64::from(x) / (1.0 + (-1.702 * f64::from(x)).exp())),
        (Pointwise::Gelu, &|x| f64::from(x) * 0.5 * (1.0 + erf(x))),
        (Pointwise::GeluTanh, &|x| {
            let x = f64::from(x);
            x * 0.5 * (1.0 + (0.797_884_560_802_865_4 * (x + 0.044_715 * x.powi(3))).tanh())
        }),
    ];
    for (function, plain) in cases {
        for (arch, found) in on_each(|| apply(function, &x)) {
            for (x, found) in x.iter().zip(found) {
                let (found, expected) = (f64::from(found), plain(*x));
                let tolerance = 2e-6 * expected.abs().max(0.2);
                let close = found == expected || (found - expected).abs() <= tolerance;
                assert!(close, "{function:?} of {x} with {arch}: {found}");
            }
        }
    }
}

#[test]
fn half_of_a_product_gates_the_other_half() {
    // The last has more rows than wait for their gates at once.
    for (rows, inputs, width) in [(1, 1, 1), (70, 33, 20), (9, 48, 64), (24_000, 1, 50)] {
        let (x, weight, bias) =
            (values(rows * inputs, 1), values(2 * width * inputs, 2), values(2 * width, 3));
        let both = |row: usize, output: usize| {
            let terms = x[row * inputs..][..inputs].iter().zip(&weight[output * inputs..]);
            terms.map(|(x, weight)| f64::from(*x) * f64::from(*weight)).sum::<f64>() + f64::from(bias[output])
        };
        let gated = |place: usize| {
            let (row, output) = (place / width, place % width);
            let gate = both(row, width + output);
            both(row, output) * gate * 0.5 * (1.0 + libm::erf(gate / std::f64::consts::SQRT_2))
        };
        let expected: Vec<f64> = (0..rows * width).map(gated).collect();
        let product = || multiply_gated(&x, &Packed::new(&weight, 2 * width, inputs, 1), Some(&bias));
        assert_close(&format!("{rows} × {inputs} × {width}"), product, &expected, 2e-5);
    }
}

#[test]
fn pixels_are_put_where_they_belong() {
    let (a, b) = (values(3 * 5, 1), values(3 * 2, 2));
    for (_, both) in on_each(|| concatenate(&a, 5, &b, 2)) {
        for pixel in 0..3 {
            assert_eq!(both[pixel * 7..][..5], a[pixel * 5..][..5]);
            assert_eq!(both[pixel * 7 + 5..][..2], b[pixel * 2..][..2]);
        }
    }
    for (_, sum) in on_each(|| add(&a, &a)) {
        assert!(sum.iter().zip(&a).all(|(sum, a)| *sum == 2.0 * a));
    }
    // 2 × 3 pixels become 4 × 5, as PyTorch's nearest neighbours.
    let x: Vec<f32> = (0..6).map(|value| value as f32).collect();
    let row = [0.0, 0.0, 1.0, 1.0, 2.0];
    let below = row.map(|value| value + 3.0);
    for (_, found) in on_each(|| upsample(&x, 1, (2, 3), (4, 5))) {
        assert_eq!(found, [row, row, below, below].concat());
    }
}
