"""Studio: a local web page that steers a face by sliders and clips. `create_app` makes it, `serve` runs it."""
