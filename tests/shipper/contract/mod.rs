//! The contract of a destination, as a suite that runs against each implementation.

mod calls;
pub mod files;
mod publishing;

use std::sync::Arc;

use sewer_shipper::destination::Destination;

/// Runs every case, each in a directory of its own below `base`. `open` makes a new instance, as
/// another process would have it.
pub async fn all(open: &dyn Fn() -> Arc<dyn Destination>, base: &str) {
    let destination = open();
    let of = |case: &str| format!("{base}/{case}");
    calls::create_makes_parents(&*destination, &of("parents")).await;
    calls::create_never_overwrites(&*destination, &of("create")).await;
    calls::written_bytes_read_back(&*destination, &of("bytes")).await;
    calls::length_is_exact_and_none_only_when_missing(&*destination, &of("length")).await;
    calls::rename_never_overwrites(&*destination, &of("rename")).await;
    calls::delete_says_whether_there_was_something(&*destination, &of("delete")).await;
    calls::list_names_what_is_there(&*destination, &of("list")).await;
    calls::paths_stay_inside(&*destination).await;
    calls::reading_goes_on_after_an_output_was_abandoned(&*destination, &of("reading")).await;
    calls::an_abandoned_output_can_be_removed_by_another_process(open, &of("abandoned")).await;
    publishing::a_file_is_published_once(&*destination, &of("once")).await;
    publishing::another_file_under_the_final_name_is_a_conflict(&*destination, &of("conflict"))
        .await;
    publishing::nothing_to_publish_is_an_error(&*destination, &of("nothing")).await;
    publishing::both_names_with_the_expected_content_are_published(&*destination, &of("both"))
        .await;
    publishing::a_file_of_another_length_is_not_published(&*destination, &of("short")).await;
    publishing::a_file_still_being_written_is_not_published(open, &of("open")).await;
    publishing::the_probe_leaves_nothing_behind(&*destination, &of("probe")).await;
}
