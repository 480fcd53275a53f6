//! Plots as SVG: a line per series, both axes logarithmic.

use std::error::Error;
use std::path::Path;

use plotters::prelude::*;

/// The size of the picture.
const SIZE: (u32, u32) = (900, 560);

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
    let mut chart = ChartBuilder::on(&area)
        .caption(&plot.title, ("sans-serif", 20))
        .margin(16)
        .x_label_area_size(48)
        .y_label_area_size(80)
        .build_cartesian_2d(
            range(|point| point.0).log_scale(),
            range(|point| point.1).log_scale(),
        )?;
    let label = |value: &f64| {
        if *value < 10.0 { format!("{value}") } else { crate::stats::thousands(*value) }
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
        chart
            .draw_series(LineSeries::new(line.clone(), colour.stroke_width(2)))?
            .label(&series.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        chart.draw_series(line.into_iter().map(|at| Circle::new(at, 3, colour.filled())))?;
    }
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .label_font(("sans-serif", 14))
        .draw()?;
    area.present()?;
    Ok(())
}
