"""`grao cache info` and `prune`."""

from dataclasses import asdict
from typing import Any

import click

from grao_pipeline.cli.command import print_summary, run_stage, stage_options
from grao_pipeline.scoring.options import CacheInfoOptions, CachePruneOptions


@click.group()
def cache() -> None:
    """Look after the cache of judgements.

    \b
    Example:
      grao cache info
    """


@cache.command()
@stage_options(CacheInfoOptions)
def info(as_json: bool, **values: Any) -> None:
    """Show what the cache holds, by reward.

    \b
    Example:
      grao cache info --json
    """

    def call(options: CacheInfoOptions) -> Any:
        from grao_pipeline.scoring.cache import JudgementCache, cache_path

        found = JudgementCache(cache_path(options.cache))
        return {
            "path": str(found.path),
            "bytes": found.path.stat().st_size,
            "rewards": [asdict(line) for line in found.info()],
        }

    summary = run_stage(CacheInfoOptions, values, call)
    if as_json:
        print_summary(summary, True, "")
        return
    click.echo(f"{summary['path']}: {summary['bytes']:,} bytes")
    for line in summary["rewards"]:
        click.echo(
            f"  {line['name']:<20} {line['judgements']:>10,} judgements · {line['tokens']:,} judge tokens · "
            f"last used {line['days_unused']:.0f} days ago · {line['reward']}"
        )


@cache.command()
@stage_options(CachePruneOptions)
def prune(as_json: bool, **values: Any) -> None:
    """Delete judgements: old ones, those of a reward, or those with a status.

    \b
    Example:
      grao cache prune --unused-days 90
    """

    def call(options: CachePruneOptions) -> Any:
        from grao_pipeline.scoring.cache import JudgementCache, cache_path

        found = JudgementCache(cache_path(options.cache))
        deleted = found.prune(options.unused_days, options.reward, options.status)
        return {"path": str(found.path), "deleted": deleted, "bytes": found.path.stat().st_size}

    print_summary(run_stage(CachePruneOptions, values, call), as_json, "Cache of judgements")


if __name__ == "__main__":
    cache()
