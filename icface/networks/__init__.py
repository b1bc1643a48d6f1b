"""The networks: neutraliser and generator (`resnet`, `warp`), discriminator, image encoder."""
