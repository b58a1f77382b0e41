<?php

declare(strict_types=1);

namespace Example;

final class Hello
{
    public function text(): string
    {
        return "Hello from PHP\n";
    }
}
