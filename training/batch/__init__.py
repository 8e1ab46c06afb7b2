"""A day's photos in the store → what the channel's model says of each: a table, a page, and a mark that the day is done."""
