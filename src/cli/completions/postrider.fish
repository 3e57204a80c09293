# fish completion of postrider: the program itself says what may follow.
function __postrider_complete
    set -l words (commandline --current-process --tokenize --cut-at-cursor)
    set -l index (count $words)
    $words[1] complete $index -- $words (commandline --current-token --cut-at-cursor) 2>/dev/null
end
complete --command postrider --no-files --keep-order --arguments '(__postrider_complete)'
