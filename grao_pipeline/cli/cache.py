"""`grao cache info` and `prune`."""

from dataclasses import asdict

import click

from grao_pipeline.cli.command import CommandGroup, errors_for_people, given_options, options_of
from grao_pipeline.cli.summaries import print_summary
from grao_pipeline.cli.terminal import echo
from grao_pipeline.scoring.options import CacheInfoOptions, CachePruneOptions


@click.group(cls=CommandGroup)
def cache() -> None:
    """Look after the cache of judgements.

    \b
    Example:
      grao cache info
    """


@cache.command()
@options_of(CacheInfoOptions)
def info(as_json: bool, **values: object) -> None:
    """Show what the cache holds, by reward.

    \b
    Example:
      grao cache info --json
    """
    with errors_for_people():
        from grao_pipeline.scoring.open_cache import open_cache

        options, _ = given_options(CacheInfoOptions, values)
        judgements = open_cache(options.cache, must_exist=True)
        rewards = [asdict(line) for line in judgements.info()]
        summary = {"path": judgements.place, "bytes": judgements.num_bytes, "rewards": rewards}
    if as_json:
        print_summary(summary, True, "")
        return
    echo(f"{summary['path']}: {summary['bytes']:,} bytes")
    for line in rewards:
        echo(
            f"  {line['name']:<20} {line['judgements']:>10,} judgements · {line['tokens']:,} judge tokens · "
            f"last used {line['days_unused']:.0f} days ago · {line['reward']}"
            + (f" · {line['damaged']:,} damaged" if line["damaged"] else "")
        )


@cache.command()
@options_of(CachePruneOptions)
def prune(as_json: bool, **values: object) -> None:
    """Delete judgements: old ones, those of a reward, or those with a status.

    \b
    Example:
      grao cache prune --unused-days 90 --dry-run
    """
    with errors_for_people():
        from grao_pipeline.scoring.open_cache import open_cache

        options, _ = given_options(CachePruneOptions, values)
        judgements = open_cache(options.cache, must_exist=True)
        deleted = judgements.prune(options.unused_days, options.reward, options.status, options.dry_run)
        summary = {"path": judgements.place, "deleted": deleted, "bytes": judgements.num_bytes}
    print_summary(summary, as_json, "Dry run: cache of judgements" if options.dry_run else "Cache of judgements")
