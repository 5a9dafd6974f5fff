"""Stage `prompts`: any dataset → the prompts table. The verb is `build.build_prompts`."""
