(module
  (@custom "trireme.fake" "need elsewhere nothing\n")
  (import "elsewhere" "nothing" (func))
  (func (export "_start")))
