// Package docs holds no code. Its tests write the pages of reference/ from the
// program itself, and fail when a page and the program disagree.
package docs
