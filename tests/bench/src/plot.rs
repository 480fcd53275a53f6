//! Plots as SVG: a line per series, both axes logarithmic.

use std::error::Error;
use std::ops::Range;
use std::path::Path;

use plotters::prelude::*;

use crate::stats;

/// The size of the picture.
const SIZE: (u32, u32) = (1000, 520);

/// Where the plot ends and the names of the lines begin.
const NAMES_AT: u32 = 760;

/// The height of a name.
const NAME_HEIGHT: i32 = 26;

/// A line with a name.
#[derive(Clone, Debug)]
pub struct Series {
    /// What the line is for.
    pub name: String,
    /// Its points, in order.
    pub points: Vec<(f64, f64)>,
}

/// A plot.
#[derive(Clone, Debug)]
pub struct Plot {
    /// The file's name.
    pub file: &'static str,
    /// What is seen.
    pub title: String,
    /// What is to the right.
    pub x: &'static str,
    /// What is upwards.
    pub y: &'static str,
    /// The lines.
    pub series: Vec<Series>,
}

/// Draws a plot into its file in `directory`.
pub fn draw(plot: &Plot, directory: &Path) -> Result<(), Box<dyn Error>> {
    let drawable = |point: &&(f64, f64)| {
        point.0.is_finite() && point.1.is_finite() && point.0 > 0.0 && point.1 > 0.0
    };
    let points = || plot.series.iter().flat_map(|series| &series.points).filter(drawable);
    if points().next().is_none() {
        return Err("there is no point".into());
    }
    let range = |of: fn(&(f64, f64)) -> f64| {
        let (low, high) = points()
            .map(of)
            .fold((f64::MAX, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
        (low / 1.3)..(high * 1.3)
    };
    let path = directory.join(plot.file);
    let area = SVGBackend::new(&path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let (left, right) = area.split_horizontally(NAMES_AT);
    let mut across: Vec<f64> = points().map(|point| point.0).collect();
    across.sort_by(f64::total_cmp);
    // A tick that would stand in the one before is left out.
    across.dedup_by(|next, before| *next < *before * 1.15);
    let upwards = range(|point| point.1);
    let mut chart = ChartBuilder::on(&left)
        .caption(&plot.title, ("sans-serif", 20))
        .margin(16)
        .x_label_area_size(48)
        .y_label_area_size(80)
        .build_cartesian_2d(
            range(|point| point.0).log_scale().with_key_points(across),
            upwards.clone().log_scale().with_key_points(ticks(&upwards)),
        )?;
    let label = |value: &f64| {
        let digits = if *value < 1.0 { 2 } else { 1 };
        if *value < 10.0 { stats::decimal(*value, digits) } else { stats::thousands(*value) }
    };
    chart
        .configure_mesh()
        .x_desc(plot.x)
        .y_desc(plot.y)
        .x_label_formatter(&label)
        .y_label_formatter(&label)
        .label_style(("sans-serif", 14))
        .light_line_style(WHITE)
        .draw()?;
    for (number, series) in plot.series.iter().enumerate() {
        let colour = Palette99::pick(number).to_rgba();
        let line: Vec<_> = series.points.iter().filter(drawable).copied().collect();
        chart.draw_series(LineSeries::new(line.clone(), colour.stroke_width(2)))?;
        chart.draw_series(line.into_iter().map(|at| Circle::new(at, 3, colour.filled())))?;
        let y = NAME_HEIGHT * i32::try_from(number + 3)?;
        right.draw(&PathElement::new([(0, y), (20, y)], colour.stroke_width(2)))?;
        right.draw(&Text::new(series.name.clone(), (28, y - 7), ("sans-serif", 14)))?;
    }
    area.present()?;
    Ok(())
}

/// 1, 2 and 5 times the powers of ten within a range.
fn ticks(range: &Range<f64>) -> Vec<f64> {
    let powers = (-3..9).map(|power| 10.0_f64.powi(power));
    let all = powers.flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * power));
    all.filter(|tick| range.contains(tick)).collect()
}
