"""Where changes come from: the shard processor, and the engines that drive it."""
