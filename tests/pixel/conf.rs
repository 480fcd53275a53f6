//! `conf/pixel.toml` says what the code does.

use sewer_test_support::conf;

#[test]
fn the_file_has_every_key_with_its_default_and_no_other() {
    conf::check::<sewer_pixel::config::Config>("pixel.toml");
}
