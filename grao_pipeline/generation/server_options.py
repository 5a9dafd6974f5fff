"""The server among the options of `grao generate`."""

from grao_pipeline.generation.engines.base import ServerOptions
from grao_pipeline.generation.options import GenerateOptions
from grao_pipeline.models.templates import TemplateSettings


def server_options(options: GenerateOptions) -> ServerOptions | None:
    """The server to sample through; None where none is named."""
    if options.base_url is None:
        return None
    return ServerOptions(
        base_url=options.base_url,
        served_model=options.served_model,
        concurrency=options.concurrency,
        retries=options.retries,
        request_timeout=options.request_timeout,
        allow_retokenize=options.allow_retokenize,
        api=options.api,
        requests_per_minute=options.requests_per_minute,
        tokens_per_minute=options.tokens_per_minute,
        template_arguments=TemplateSettings.parse(options.template_arg, options.template_date).arguments,
    )
