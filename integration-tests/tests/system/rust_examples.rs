//! The examples of the Rust SDK do what they say.

use tidegate_integration_tests::Suite;

#[expect(dead_code, reason = "an example has a `main` of its own")]
#[path = "../../../libs/sdk/examples/fan_out.rs"]
mod fan_out;
#[expect(dead_code, reason = "an example has a `main` of its own")]
#[path = "../../../libs/sdk/examples/hello.rs"]
mod hello;

#[tokio::test]
async fn the_examples_run() {
    let suite = Suite::embedded().await;
    let client = suite.client();
    assert_eq!(hello::run(&client).await.unwrap(), ["Hello, Ada!", "Hello, Grace!"]);
    assert_eq!(fan_out::run(&client).await.unwrap(), (0..100).sum::<usize>());
    suite.stop().await;
}

/// It is that example, which is compiled with the others.
#[test]
fn the_sample_of_the_readme_is_an_example() {
    let (readme, example) =
        (include_str!("../../../README.md"), include_str!("../../../libs/sdk/examples/readme.rs"));
    let (_, sample) = example.split_once("\n\n").expect("begins with what it is");
    assert!(readme.contains(&format!("```rust\n{sample}```")), "README.md has another sample in Rust");
}
