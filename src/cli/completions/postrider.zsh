#compdef postrider
# zsh completion of postrider: the program itself says what may follow.
_postrider() {
    local -a found
    local line
    for line in "${(@f)$("${(Q)words[1]}" complete $((CURRENT - 1)) -- "${(@Q)words[1,CURRENT]}" 2>/dev/null)}"; do
        [[ -n "${line%%$'\t'*}" ]] && found+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
    done
    (( ${#found} )) && _describe -V postrider found
}
# Read from a file of fpath it is the function's body, else it is sourced.
if [ "${funcstack[1]}" = _postrider ]; then
    _postrider "$@"
else
    compdef _postrider postrider
fi
